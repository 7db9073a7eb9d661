"""What Databricks runs; stands alone."""
