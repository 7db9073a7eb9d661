"""The only door to configuration and credentials: settings, and the Prefect blocks made of them."""
