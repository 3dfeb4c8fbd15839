"""The store's bucket takes an object, gives it back, refuses to have it overwritten, and forgets it."""

import os
import uuid

import boto3
from botocore.exceptions import ClientError

bucket, _, prefix = os.environ["SELFTAUGHT_STORE"].removeprefix("s3://").partition("/")
key = "/".join(filter(None, [prefix, "helm-test", uuid.uuid4().hex]))
s3 = boto3.client("s3")
s3.put_object(Bucket=bucket, Key=key, Body=b"first", IfNoneMatch="*")
try:
    s3.put_object(Bucket=bucket, Key=key, Body=b"second", IfNoneMatch="*")
    raise SystemExit("the server lets a conditional write overwrite: Selftaught cannot work with it")
except ClientError as error:
    if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:
        raise
assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"first"
s3.delete_object(Bucket=bucket, Key=key)
print(f"s3://{bucket}/{key}: written once, read, deleted")
