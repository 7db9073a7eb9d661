terraform {
  required_version = ">= 1.11"
  required_providers {
    databricks = {
      source  = "databricks/databricks"
      version = "~> 1.128"
      # Budgets belong to the account, all else to a workspace.
      configuration_aliases = [databricks.account]
    }
  }
}
