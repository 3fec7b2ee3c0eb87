"""What every application has."""
