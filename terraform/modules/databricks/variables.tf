variable "environment" {
  description = "Name of the environment."
  type        = string
  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is dev, staging or prod."
  }
}

variable "workspace_host" {
  description = "Host of the workspace, without https://."
  type        = string
}

variable "instance_profile_arn" {
  description = "Output databricks_instance_profile_arn of the aws root; the workspace's own role needs iam:PassRole on it."
  type        = string
}

variable "max_workers" {
  description = "Workers that a cluster may grow to."
  type        = number
  default     = 4
}

variable "node_types" {
  description = "Instance types that a cluster may have; the first is the default."
  type        = list(string)
  default     = ["m5d.large", "m5d.xlarge"]
}

variable "budget" {
  description = "Account-level budget of list cost in USD a month and who is mailed; null: none."
  type        = object({ usd = number, emails = list(string) })
  default     = null
}
