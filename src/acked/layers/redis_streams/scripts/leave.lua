-- Give back all that a consumer owns, and delete it.
-- uses: now wake known
-- ARGV[3] the leases the consumer knows of, with spaces between. Gives back all it owns; what it
-- never knew of is not charged. Deletes the consumer, which owns nothing by then: it is one step.
local known, due, page, any = knows(ARGV[3]), now(), nil, false
repeat
  page = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 100, ARGV[2])
  for _, entry in ipairs(page) do
    any = true
    local id, count = entry[1], entry[4]
    if not known(entry) then count = math.max(0, count - 1) end
    redis.pcall('ZADD', KEYS[2], due, id)
    redis.call('XCLAIM', KEYS[1], ARGV[1], FREE, 0, id, 'RETRYCOUNT', count, 'JUSTID')
  end
until #page == 0
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.pcall('XGROUP', 'DELCONSUMER', KEYS[3], ARGV[1], ARGV[2])
if any then wake() end
return 1
