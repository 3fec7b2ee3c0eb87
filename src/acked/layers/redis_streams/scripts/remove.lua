-- Remove a group that nobody consumes as.
-- Removes the group and what is beside it; 0, and no change, if a consumer holds something.
-- ARGV[2] the consumer that owns what was given back.
local found = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
for _, consumer in ipairs(found.err and {} or found) do
  if consumer[2] ~= ARGV[2] and consumer[4] > 0 then return 0 end
end
redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) -- an error: there is no such stream
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
return 1
