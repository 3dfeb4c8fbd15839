locals {
  registry = split("/", aws_ecr_repository.this["steps"].repository_url)[0]
  roles    = { for name, role in aws_iam_role.account : name => { "eks.amazonaws.com/role-arn" = role.arn } }
}

output "helm_values" {
  description = "Values of the chart, as YAML: terraform output -raw helm_values > aws-values.yaml"
  value = yamlencode({
    images = {
      registry     = local.registry
      steps        = { repository = aws_ecr_repository.this["steps"].name }
      trainer      = { repository = aws_ecr_repository.this["trainer"].name }
      engine       = { repository = aws_ecr_repository.this["engine"].name }
      engine-cuda  = { repository = aws_ecr_repository.this["engine-cuda"].name }
      value-server = { repository = aws_ecr_repository.this["value-server"].name }
    }
    s3 = {
      endpoint = ""
      region   = var.region
      bucket   = aws_s3_bucket.this.id
    }
    serviceAccounts = {
      for account in ["steps", "promoter", "scheduler", "engine", "mlflow"] :
      account => { annotations = local.roles[account] }
    }
    kfp      = { runner = { namespace = var.kfp_runner.namespace, name = var.kfp_runner.name } }
    serving  = { runtime = var.gpu_nodes == null ? "selftaught-vllm-cpu" : "selftaught-vllm-cuda" }
    runtimes = { cuda = { enabled = var.gpu_nodes != null } }
  })
}

output "kfp_runner_annotation" {
  description = "Annotation of KFP's runner, which is not the chart's: kubectl annotate serviceaccount"
  value       = "eks.amazonaws.com/role-arn=${aws_iam_role.account["pipeline-runner"].arn}"
}

output "cluster" {
  description = "Name of the cluster: aws eks update-kubeconfig --name"
  value       = aws_eks_cluster.this.name
}

output "registry" {
  description = "Host of the image repositories."
  value       = local.registry
}

output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.id
}
