# `terraform test` against a provider that only pretends: nothing is asked of AWS, and no account is needed. Names and
# ARNs that AWS would give are made up here, because Terraform checks their form.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::000000000000:role/mock" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = {
      arn = "arn:aws:iam::000000000000:oidc-provider/oidc.example.com/id/MOCK"
      url = "oidc.example.com/id/MOCK"
    }
  }
  mock_resource "aws_eks_cluster" {
    defaults = {
      identity = [{ oidc = [{ issuer = "https://oidc.example.com/id/MOCK" }] }]
    }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { id = "mock-bucket", arn = "arn:aws:s3:::mock-bucket" }
  }
  mock_resource "aws_ecr_repository" {
    defaults = { repository_url = "000000000000.dkr.ecr.eu-central-1.amazonaws.com/selftaught/mock" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-00000000000000000", latest_version = 1 }
  }
}

variables {
  region = "eu-central-1"
}

run "bucket" {
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Versions are what an overwritten model is brought back from."
  }
  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.this.rule :
      rule.apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    ])
    error_message = "The bucket is encrypted."
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "Nothing in the bucket is public."
  }
  assert {
    condition = anytrue([
      for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement :
      statement.Effect == "Deny" && statement.Principal == "*" && statement.Action == "s3:*" &&
      statement.Condition.Bool["aws:SecureTransport"] == "false" &&
      toset(statement.Resource) == toset(["arn:aws:s3:::mock-bucket", "arn:aws:s3:::mock-bucket/*"])
    ])
    error_message = "Requests without TLS are refused."
  }
  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.this.rule :
      rule.status == "Enabled" && length(rule.abort_incomplete_multipart_upload) == 1 &&
      try(rule.abort_incomplete_multipart_upload[0].days_after_initiation, 0) == 7
    ])
    error_message = "Uploads that nobody ends are aborted after seven days."
  }
  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.this.rule :
      rule.status == "Enabled" && try(rule.noncurrent_version_expiration[0].noncurrent_days, 0) == 30
    ])
    error_message = "Old versions go."
  }
  assert {
    condition     = !aws_s3_bucket.this.force_destroy
    error_message = "destroy does not take the data along."
  }
}

run "access" {
  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.bucket["engine"].policy).Statement : statement.Action
    ])) == toset(["s3:ListBucket", "s3:GetObject"])
    error_message = "The engine's role reads, and can do nothing else."
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.bucket["engine"].policy).Statement[1].Resource == [
      "arn:aws:s3:::mock-bucket/models/*"
    ]
    error_message = "The engine's role reads models alone."
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.bucket["mlflow"].policy).Statement[1].Resource == [
      "arn:aws:s3:::mock-bucket/mlflow/*"
    ]
    error_message = "MLflow's role reaches its own artifacts alone."
  }
  assert {
    condition = alltrue(flatten([
      for name, policy in aws_iam_role_policy.bucket : [
        for statement in jsondecode(policy.policy).Statement : [
          for action in statement.Action : contains([
            "s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
          ], action)
        ]
      ]
    ]))
    error_message = "No role may change the bucket, or delete a version of an object."
  }
  assert {
    condition = alltrue(flatten([
      for name, policy in aws_iam_role_policy.bucket : [
        for statement in jsondecode(policy.policy).Statement : [
          for resource in statement.Resource : startswith(resource, "arn:aws:s3:::mock-bucket")
        ]
      ]
    ]))
    error_message = "No role reaches another bucket."
  }
  assert {
    condition = {
      for name, role in aws_iam_role.account :
      name => jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals
      } == {
      for name, account in {
        steps           = "selftaught:selftaught-steps"
        promoter        = "selftaught:selftaught-promoter"
        scheduler       = "selftaught:selftaught-scheduler"
        engine          = "selftaught:selftaught-engine"
        mlflow          = "selftaught:selftaught-mlflow"
        pipeline-runner = "kubeflow:pipeline-runner"
        ebs-csi         = "kube-system:ebs-csi-controller-sa"
        } : name => {
        "oidc.example.com/id/MOCK:aud" = "sts.amazonaws.com"
        "oidc.example.com/id/MOCK:sub" = "system:serviceaccount:${account}"
      }
    }
    error_message = "Each role is one service account's."
  }
  assert {
    condition     = !contains(keys(aws_iam_role_policy.bucket), "ebs-csi")
    error_message = "The driver for volumes has no business in the bucket."
  }
}

run "cluster" {
  assert {
    condition     = aws_eks_cluster.this.version == "1.34"
    error_message = "The version that the platform was tried on."
  }
  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "Nobody reaches the API server from outside unless api_cidrs names them."
  }
  assert {
    condition     = jsondecode(aws_eks_addon.before_nodes["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "Network policies are enforced."
  }
  assert {
    condition     = keys(aws_eks_node_group.this) == ["cpu"] && length(aws_eks_node_group.this["cpu"].taint) == 0
    error_message = "By default there are CPU nodes alone, which take anything."
  }
  assert {
    condition = alltrue([
      for template in aws_launch_template.nodes :
      template.metadata_options[0].http_tokens == "required" &&
      template.metadata_options[0].http_put_response_hop_limit == 1
    ])
    error_message = "Pods do not get the node's role."
  }
  assert {
    condition     = length(aws_subnet.private) == 2 && length(aws_nat_gateway.this) == 1
    error_message = "A VPC with two zones and one NAT gateway."
  }
}

run "registry" {
  assert {
    condition = alltrue([
      for repository in aws_ecr_repository.this :
      repository.image_tag_mutability == "IMMUTABLE" && repository.image_scanning_configuration[0].scan_on_push
    ])
    error_message = "A tag is written once, and what is pushed is scanned."
  }
  assert {
    condition = toset([for repository in aws_ecr_repository.this : repository.name]) == toset([
      "selftaught/steps", "selftaught/trainer", "selftaught/engine", "selftaught/engine-cuda", "selftaught/value-server"
    ])
    error_message = "A repository an image."
  }
}

run "values_of_the_chart" {
  # The chart refuses names that it does not know.
  assert {
    condition = alltrue(flatten([
      for section in ["images", "s3", "serviceAccounts", "kfp", "serving", "runtimes"] : [
        for key in keys(yamldecode(output.helm_values)[section]) :
        contains(keys(yamldecode(file("${path.module}/../../charts/selftaught/values.yaml"))[section]), key)
      ]
    ]))
    error_message = "The chart has every value that is set."
  }
  assert {
    condition = toset(keys(yamldecode(output.helm_values))) == toset([
      "images", "s3", "serviceAccounts", "kfp", "serving", "runtimes"
    ])
    error_message = "The sections that the chart is looked up for."
  }
  assert {
    condition     = yamldecode(output.helm_values).s3 == { endpoint = "", region = "eu-central-1", bucket = "mock-bucket" }
    error_message = "The chart finds the bucket."
  }
  assert {
    condition     = yamldecode(output.helm_values).images.registry == "000000000000.dkr.ecr.eu-central-1.amazonaws.com"
    error_message = "The chart finds the images."
  }
  assert {
    condition = alltrue([
      for image in ["steps", "trainer", "engine", "engine-cuda", "value-server"] :
      yamldecode(output.helm_values).images[image].repository == "selftaught/${image}"
    ])
    error_message = "Each image has its own repository."
  }
  assert {
    condition = alltrue([
      for account in ["steps", "promoter", "scheduler", "engine", "mlflow"] :
      startswith(yamldecode(output.helm_values).serviceAccounts[account].annotations["eks.amazonaws.com/role-arn"], "arn:")
    ])
    error_message = "Each account is annotated with its role."
  }
  assert {
    condition     = yamldecode(output.helm_values).serving.runtime == "selftaught-vllm-cpu"
    error_message = "Without GPU nodes policies are served on CPU."
  }
}

run "gpus" {
  variables {
    gpu_nodes = {}
  }
  assert {
    condition = [
      for taint in aws_eks_node_group.this["gpu"].taint : "${taint.key}:${taint.effect}"
    ] == ["nvidia.com/gpu:NO_SCHEDULE"]
    error_message = "GPU nodes take what tolerates the taint alone."
  }
  assert {
    condition     = aws_eks_node_group.this["gpu"].ami_type == "AL2023_x86_64_NVIDIA"
    error_message = "GPU nodes have the driver."
  }
  assert {
    condition     = yamldecode(output.helm_values).serving.runtime == "selftaught-vllm-cuda"
    error_message = "With GPU nodes policies are served on them."
  }
}

run "own_subnets" {
  variables {
    subnet_ids = ["subnet-00000001", "subnet-00000002"]
    api_cidrs  = ["203.0.113.0/24"]
  }
  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_nat_gateway.this) == 0 && length(aws_vpc_endpoint.s3) == 0
    error_message = "No network is made beside your own."
  }
  assert {
    condition     = aws_eks_node_group.this["cpu"].subnet_ids == toset(["subnet-00000001", "subnet-00000002"])
    error_message = "Nodes are in your subnets."
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "The API server can be reached from the addresses that are named."
  }
}

run "open_api_server" {
  command = plan
  variables {
    api_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.api_cidrs]
}

run "one_subnet" {
  command = plan
  variables {
    subnet_ids = ["subnet-00000001"]
  }
  expect_failures = [var.subnet_ids]
}
