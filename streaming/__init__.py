"""Events: their schema, their producer and the connector that lands them."""
