"""Where messages travel."""
