-- Find what a consumer owns and does not know of.
-- uses: take known
-- ARGV[3] how many to take at most, ARGV[4] the leases the consumer knows of, with spaces between.
-- Returns {id, count, fields} for what it owns and does not know, and how many were trimmed.
local limit, known = tonumber(ARGV[3]), knows(ARGV[4])
local start, page = '-', nil
repeat
  page = redis.call('XPENDING', KEYS[1], ARGV[1], start, '+', 100, ARGV[2])
  for _, entry in ipairs(page) do
    start = '(' .. entry[1]
    if #taken < limit and not known(entry) then take(entry[1], entry[4]) end
  end
until #page < 100 or #taken >= limit
return {taken, trimmed}
