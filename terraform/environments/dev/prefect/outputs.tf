# Read by `sales blocks register --from-terraform`.
output "work_pool" { value = module.prefect.work_pool }

# For ../aws.
output "webhook_url" {
  value     = module.prefect.webhook_url
  sensitive = true
}
