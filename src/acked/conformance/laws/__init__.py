"""The laws, one module for each concern; their ids are in the guarantees of the documentation."""
