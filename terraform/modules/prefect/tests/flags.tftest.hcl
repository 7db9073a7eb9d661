mock_provider "prefect" {}

variables {
  environment = "dev"
}

run "pool_only" {
  assert {
    condition     = prefect_work_pool.sales.name == "sales-dev" && prefect_work_pool.sales.type == "prefect:managed" && output.work_pool == "sales-dev"
    error_message = "The pool of environments/dev.env."
  }
  assert {
    condition     = length(prefect_block.results) + length(prefect_automation.pool_not_ready) + length(prefect_webhook.arrivals) == 0
    error_message = "What needs a variable waits for it."
  }
}

run "everything" {
  variables {
    artifacts_bucket = "sales-dev-artifacts-123456789012"
    on_call_emails   = ["data-engineering@example.com"]
    enable_webhook   = true
  }
  assert {
    condition     = jsondecode(prefect_block.results[0].data).bucket_name == "sales-dev-artifacts-123456789012" && prefect_block.results[0].type_slug == "s3-bucket"
    error_message = "Results are kept in the artifacts bucket."
  }
  assert {
    condition     = !strcontains(prefect_block.aws[0].data, "secret")
    error_message = "The block holds no keys."
  }
  assert {
    condition     = prefect_automation.pool_not_ready[0].actions[0].emails == tolist(["data-engineering@example.com"])
    error_message = "Somebody is mailed."
  }
  assert {
    condition     = jsondecode(prefect_webhook.arrivals[0].template).event == "sales.file.arrived"
    error_message = "The event that prefect.yaml's trigger waits for."
  }
}
