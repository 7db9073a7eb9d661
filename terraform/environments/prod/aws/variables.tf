variable "aws_account_id" {
  description = "The account of this environment; Terraform refuses any other."
  type        = string
}

variable "aws_region" {
  description = "Region of buckets and MSK."
  type        = string
  default     = "eu-west-1"
}

variable "pipeline_trust" {
  description = "Who may take the pipeline's role, and the external id they show."
  type        = object({ principal_arns = list(string), external_id = string })
}

variable "snowflake_trust" {
  description = "Output snowflake_trust of ../snowflake; null before that root was applied."
  type        = object({ iam_user_arn = string, external_id = string })
  default     = null
}

variable "enable_msk" {
  description = "Make a Kafka cluster on MSK."
  type        = bool
  default     = false
}

variable "connector_plugin_key" {
  description = "Key of the connector's zip in the artifacts bucket; null: no MSK Connect yet."
  type        = string
  default     = null
}

variable "snowflake_account" {
  description = "Snowflake account identifier; the sink needs it."
  type        = string
  default     = ""
}

variable "alert_emails" {
  description = "Who is told of alarms and of the budget by mail."
  type        = list(string)
  default     = []
}

variable "slack_channel" {
  description = "Slack workspace and channel for alarms, by AWS Chatbot."
  type        = object({ team_id = string, channel_id = string })
  default     = null
}

variable "prefect_webhook_url" {
  description = "Output webhook_url of ../prefect; null leaves arrivals to watch_drop."
  type        = string
  default     = null
  sensitive   = true
}

variable "rotation_lambda_arns" {
  description = "Function that rotates a secret, by the secret's name."
  type        = map(string)
  default     = {}
}
