output "work_pool" { value = prefect_work_pool.sales.name }
output "webhook_url" {
  description = "For the aws root: whoever knows it can send events."
  value       = one(prefect_webhook.arrivals[*].endpoint)
  sensitive   = true
}
