variable "pool_type" {
  type    = string
  default = "prefect:managed"
}

# Outputs of ../aws.
variable "artifacts_bucket" {
  type    = string
  default = null
}

variable "aws_region" {
  type    = string
  default = "eu-west-1"
}

variable "on_call_emails" {
  type    = list(string)
  default = []
}

variable "enable_webhook" {
  description = "Prefect Cloud only."
  type        = bool
  default     = false
}
