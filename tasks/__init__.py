"""One file per outside system or subject: thin Prefect tasks over pure functions."""
