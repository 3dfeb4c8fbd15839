"""Make the bucket that is the argument, once the embedded S3 server is up."""

import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

s3, bucket = boto3.client("s3"), sys.argv[1]
for _ in range(120):
    try:
        if bucket not in [known["Name"] for known in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=bucket)
        break
    except (BotoCoreError, ClientError) as error:
        print(f"not yet: {error}", flush=True)
        time.sleep(1)
else:
    sys.exit(f"{bucket}: the server does not answer")
print(f"{bucket}: there")
