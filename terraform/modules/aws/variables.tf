variable "environment" {
  description = "Name of the environment; part of every name, so that environments can share an account."
  type        = string
  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is dev, staging or prod."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete buckets, even empty ones; keep deleted secrets and keys for 30 days."
  type        = bool
  default     = true
}

variable "alert_emails" {
  description = "Who is told of alarms and of the budget by mail."
  type        = list(string)
  default     = []
}

variable "slack_channel" {
  description = "Slack workspace (authorised once by hand in AWS Chatbot) and channel for alarms; null: none."
  type        = object({ team_id = string, channel_id = string })
  default     = null
}

variable "prefect_webhook_url" {
  description = "Prefect Cloud webhook that is told of each file in the drop; null leaves it to the flow watch_drop."
  type        = string
  default     = null
  sensitive   = true
}

variable "monthly_budget_usd" {
  description = "What the environment's AWS resources may cost in a month."
  type        = number
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps logs."
  type        = number
  default     = 365
}

variable "raw_retention_days" {
  description = "How long a landed file is kept; it is what everything can be rebuilt from."
  type        = number
  default     = 2555
}

variable "processed_retention_days" {
  description = "How long Spark's Parquet is kept; the warehouse has loaded it, and raw can make it again."
  type        = number
  default     = 90
}

variable "enable_storage_lens" {
  description = "Count the bytes of incomplete uploads and old versions, bucket by bucket, by S3 Storage Lens."
  type        = bool
  default     = true
}

variable "vpc_cidr" {
  description = "Addresses of the VPC, a /16."
  type        = string
  default     = "10.40.0.0/16"
}

variable "interface_endpoints" {
  description = "AWS services that are reached inside the VPC; each costs by the hour and zone."
  type        = set(string)
  default     = ["secretsmanager", "kms", "logs", "sts"]
}

variable "enable_msk" {
  description = "Make a Kafka cluster on MSK, and the NAT gateway by which its sink reaches Snowflake."
  type        = bool
  default     = false
}

variable "msk_instance_type" {
  description = "Instance type of the three brokers."
  type        = string
  default     = "kafka.t3.small"
}

variable "msk_volume_gb" {
  description = "Disk of each broker."
  type        = number
  default     = 100
}

variable "connector_plugin_key" {
  description = "Key, in the artifacts bucket, of the zip of the Snowflake connector and the Secrets Manager config provider; null: no MSK Connect yet."
  type        = string
  default     = null
  validation {
    condition     = var.connector_plugin_key == null || var.enable_msk
    error_message = "MSK Connect needs the cluster: set enable_msk."
  }
}

variable "connector_config" {
  description = "The sink's configuration, filled in: streaming/connectors/snowflake_sink.json."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for value in values(var.connector_config) : !strcontains(value, "{{")])
    error_message = "A value of connector_config is still a template."
  }
}

variable "connector_tasks_max" {
  description = "Tasks of the sink."
  type        = number
  default     = 3
}

variable "snowflake_trust" {
  description = "Snowflake's IAM user and the external id of the storage integration; null until the integration exists."
  type        = object({ iam_user_arn = string, external_id = string })
  default     = null
}

variable "pipeline_trust" {
  description = "Who may take the pipeline's role (the identities of Prefect's workers), and the external id they show."
  type        = object({ principal_arns = list(string), external_id = string })
  validation {
    condition     = length(var.pipeline_trust.principal_arns) > 0 && !contains(var.pipeline_trust.principal_arns, "*")
    error_message = "pipeline_trust names identities, never everybody."
  }
}

variable "rotation_lambda_arns" {
  description = "Function that rotates a secret, by the secret's name in secrets.tf."
  type        = map(string)
  default     = {}
}

variable "rotation_days" {
  description = "How often a secret with a rotation function is rotated."
  type        = number
  default     = 90
}
