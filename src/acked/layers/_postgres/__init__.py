"""How the layers on PostgreSQL reach their server: connections, pools, TLS, errors in our words."""
