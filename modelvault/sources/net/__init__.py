"""HTTP for everything that is fetched: connections, limits, retries, cancellation."""
