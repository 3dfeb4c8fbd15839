variable "name" {
  description = "Name of the cluster, and what the names of everything else begin with."
  type        = string
  default     = "selftaught"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,28}[a-z0-9]$", var.name))
    error_message = "name: 3 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "AWS region, such as eu-central-1."
  type        = string
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

# -- Network -----------------------------------------------------------------------------------------------------------

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made; unused with subnet_ids."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 15))
    error_message = "vpc_cidr: a block such as 10.42.0.0/16, large enough to be cut into 16."
  }
}

variable "zones" {
  description = "Availability zones that the VPC that is made spans. EKS asks for two at the least."
  type        = number
  default     = 2

  validation {
    condition     = var.zones >= 2 && var.zones <= 6
    error_message = "zones: 2 to 6."
  }
}

variable "subnet_ids" {
  description = "Private subnets of your own, in two zones at the least, with a way out to the internet. Empty: a VPC is made."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.subnet_ids) != 1
    error_message = "subnet_ids: none, or subnets in two zones at the least."
  }
}

# -- Cluster -----------------------------------------------------------------------------------------------------------

variable "kubernetes_version" {
  description = "Kubernetes version of the cluster and of its nodes."
  type        = string
  default     = "1.34"
}

variable "api_cidrs" {
  description = "Addresses that may reach the API server from outside the VPC. Empty: none may."
  type        = list(string)
  default     = []

  validation {
    condition     = !contains(var.api_cidrs, "0.0.0.0/0")
    error_message = "api_cidrs: name the addresses of your people and of your CI, not the entire internet."
  }
}

variable "cpu_nodes" {
  description = "Nodes without GPUs: the platform, KFP, steps, and engines on CPU."
  type = object({
    instance_types = optional(list(string), ["m7i.2xlarge"])
    min            = optional(number, 2)
    desired        = optional(number, 2)
    max            = optional(number, 6)
    disk_gib       = optional(number, 100)
  })
  default = {}
}

variable "gpu_nodes" {
  description = "Nodes with NVIDIA GPUs, tainted nvidia.com/gpu. null: none."
  type = object({
    instance_types = optional(list(string), ["g6.2xlarge"])
    min            = optional(number, 0)
    desired        = optional(number, 1)
    max            = optional(number, 4)
    disk_gib       = optional(number, 200)
  })
  default = null
}

# -- Platform ----------------------------------------------------------------------------------------------------------

variable "namespace" {
  description = "Namespace of the chart's release."
  type        = string
  default     = "selftaught"
}

variable "kfp_runner" {
  description = "The service account that KFP's tasks run as (`kfp.runner` of the chart)."
  type = object({
    namespace = optional(string, "kubeflow")
    name      = optional(string, "pipeline-runner")
  })
  default = {}
}

variable "bucket" {
  description = "Name of the bucket. Bucket names are one world: null adds random characters to `name`."
  type        = string
  default     = null
}

variable "noncurrent_days" {
  description = "Days that an overwritten or deleted object can still be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "noncurrent_days: 1 at the least."
  }
}
