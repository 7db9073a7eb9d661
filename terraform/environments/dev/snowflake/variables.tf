variable "organization_name" { type = string }
variable "account_name" { type = string }

variable "enable_snowflake_objects" {
  type    = bool
  default = true
}

variable "pipeline_public_keys" {
  type = object({ current = string, next = optional(string) })
}

variable "sink_public_keys" {
  type = object({ current = string, next = optional(string) })
}

variable "grafana_public_keys" {
  type    = object({ current = string, next = optional(string) })
  default = null
}

variable "allowed_ips" { type = list(string) }

# Outputs of ../aws.
variable "processed_bucket" { type = string }
variable "snowflake_role_arn" { type = string }

variable "migrated" {
  description = "Set once `sales warehouse migrate` has made the tables."
  type        = bool
  default     = false
}
