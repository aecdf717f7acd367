"""Files of any server into the store: resumed, checked, durable."""
