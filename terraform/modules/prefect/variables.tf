variable "environment" {
  description = "Name of the environment."
  type        = string
  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is dev, staging or prod."
  }
}

variable "pool_type" {
  description = "prefect:managed on Prefect Cloud; process, docker or ecs with workers of one's own."
  type        = string
  default     = "prefect:managed"
}

variable "concurrency_limit" {
  description = "Runs of the pool at a time."
  type        = number
  default     = 5
}

variable "artifacts_bucket" {
  description = "Where results are kept, so that a retried run does not do again what is done; null: not kept."
  type        = string
  default     = null
}

variable "aws_region" {
  description = "Region of that bucket."
  type        = string
  default     = "eu-west-1"
}

variable "on_call_emails" {
  description = "Who is mailed when the platform itself fails, Slack's block included. Prefect Cloud sends the mail."
  type        = list(string)
  default     = []
}

variable "enable_webhook" {
  description = "Prefect Cloud: an address that S3's events are sent to, instead of looking every 15 minutes."
  type        = bool
  default     = false
}
