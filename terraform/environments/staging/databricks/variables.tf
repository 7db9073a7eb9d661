variable "databricks_host" {
  description = "Host of the workspace, without https://."
  type        = string
}

variable "databricks_account_id" {
  description = "Account of the workspace; only the budget needs it."
  type        = string
  default     = null
}

# Output of ../aws.
variable "databricks_instance_profile_arn" { type = string }

variable "budget" {
  type    = object({ usd = number, emails = list(string) })
  default = null
}
