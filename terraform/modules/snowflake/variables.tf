variable "environment" {
  description = "Name of the environment."
  type        = string
  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is dev, staging or prod."
  }
}

variable "enable_snowflake_objects" {
  description = "Make anything at all; false where the account is run by somebody else, who makes these by their own means."
  type        = bool
  default     = true
}

variable "suffix" {
  description = "After every name that the account shares; empty in production, where the settings' defaults fit."
  type        = string
  default     = ""
}

variable "warehouses" {
  description = "Size and monthly credits of each virtual warehouse: WH pays for the pipeline, BI for readers."
  type        = map(object({ size = string, credits = number }))
  default = {
    WH = { size = "SMALL", credits = 100 }
    BI = { size = "XSMALL", credits = 50 }
  }
}

variable "retention_days" {
  description = "How far back Time Travel goes."
  type        = number
  default     = 1
}

variable "pipeline_public_keys" {
  description = "Public keys of the pipeline's user (PEM body in one line): the one in use and, during a change, the next."
  type        = object({ current = string, next = optional(string) })
}

variable "sink_public_keys" {
  description = "Public keys of the sink's user, likewise."
  type        = object({ current = string, next = optional(string) })
}

variable "grafana_public_keys" {
  description = "Public keys of the user that dashboards read with; null: no such user."
  type        = object({ current = string, next = optional(string) })
  default     = null
}

variable "allowed_ips" {
  description = "Addresses that service users may come from, as CIDR: Prefect's workers, the sink's NAT gateway, dashboards."
  type        = list(string)
  validation {
    condition     = length(var.allowed_ips) > 0 && !contains(var.allowed_ips, "0.0.0.0/0")
    error_message = "allowed_ips names addresses, never the whole internet."
  }
}

variable "processed_bucket" {
  description = "Bucket of Spark's Parquet; output of the aws root."
  type        = string
}

variable "storage_role_arn" {
  description = "IAM role that Snowflake reads the bucket with; output snowflake_role_arn of the aws root."
  type        = string
}

variable "migrated" {
  description = "Migrations have made the tables of RAW: the sink is let at its table, personal columns are marked. False for the first apply."
  type        = bool
  default     = false
}

variable "personal_columns" {
  description = "Columns of RAW that hold personal data, as TABLE.COLUMN; the mark follows the data into what dbt makes of them."
  type        = set(string)
  default     = ["SALES_BATCH_RAW.CUSTOMER_ID", "SALES_QUARANTINE.RAW_LINE"]
}
