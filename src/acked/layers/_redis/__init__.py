"""The way to Redis, for both Redis layers: the one seam to redis-py."""
