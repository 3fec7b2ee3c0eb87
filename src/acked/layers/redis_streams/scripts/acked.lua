local function ack(ids, first)
  if #ids < first then return end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids, first))
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('ZREM', KEYS[2], unpack(ids, first))
  end
end
