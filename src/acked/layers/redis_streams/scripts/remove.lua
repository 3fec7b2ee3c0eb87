-- Remove a group that nobody consumes as.
-- ARGV[2] the consumer that owns what was given back (what is parked is nobody's, too); ARGV[3] milliseconds after which one that is
-- silent is dead: it gives signs; ARGV[4] is "ask" to ask only, and "force" where it does not
-- matter what the dead hold. Returns 1 where nobody is in the way, 0 and no change if a consumer
-- holds something or lives.
local found = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
for _, row in ipairs(found.err and {} or found) do
  local consumer = {}
  for i = 1, #row, 2 do consumer[row[i]] = row[i + 1] end
  local lives = consumer.idle < tonumber(ARGV[3])
  if ARGV[4] ~= 'force' then lives = lives or consumer.pending > 0 end
  if consumer.name ~= ARGV[2] and consumer.name ~= PARKED and lives then return 0 end
end
if ARGV[4] ~= 'ask' then
  redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) -- an error: there is no such stream
  redis.call('DEL', unpack(KEYS, 2))
end
return 1
