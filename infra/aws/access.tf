# An IAM role for each service account that talks to AWS (IRSA). What each may do in the bucket is below; none may
# change the bucket itself, or delete a version of an object.

locals {
  issuer = trimprefix(aws_iam_openid_connect_provider.this.url, "https://")

  accounts = {
    steps           = { namespace = var.namespace, name = "selftaught-steps" }
    promoter        = { namespace = var.namespace, name = "selftaught-promoter" }
    scheduler       = { namespace = var.namespace, name = "selftaught-scheduler" }
    engine          = { namespace = var.namespace, name = "selftaught-engine" }
    mlflow          = { namespace = var.namespace, name = "selftaught-mlflow" }
    pipeline-runner = var.kfp_runner
    ebs-csi         = { namespace = "kube-system", name = "ebs-csi-controller-sa" }
  }

  read  = ["s3:GetObject"]
  write = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]

  # Keys that an account reaches, and what it may do with them. Listing is held to the same keys.
  grants = {
    steps           = { keys = "", actions = local.write }
    pipeline-runner = { keys = "", actions = local.write }
    # Upkeep runs as the promoter, and removes what retention has let go.
    promoter = { keys = "", actions = local.write }
    # Looks for fresh tasks before it submits.
    scheduler = { keys = "", actions = local.read }
    # KServe's storage initializer fetches weights.
    engine = { keys = "models/", actions = local.read }
    mlflow = { keys = "mlflow/", actions = local.write }
  }
}

resource "aws_iam_role" "account" {
  for_each = local.accounts
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.this.arn }
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${each.value.namespace}:${each.value.name}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "bucket" {
  for_each = local.grants
  name     = "bucket"
  role     = aws_iam_role.account[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      merge(
        {
          Sid      = "List"
          Effect   = "Allow"
          Action   = ["s3:ListBucket"]
          Resource = [aws_s3_bucket.this.arn]
        },
        each.value.keys == "" ? {} : { Condition = { StringLike = { "s3:prefix" = ["${each.value.keys}*"] } } },
      ),
      {
        Sid      = "Objects"
        Effect   = "Allow"
        Action   = each.value.actions
        Resource = ["${aws_s3_bucket.this.arn}/${each.value.keys}*"]
      },
    ]
  })
}
