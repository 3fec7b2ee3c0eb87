-- Append an entry for a schedule that is due, unless that was done, and note it.
-- KEYS stream, and what was noted for the schedule; ARGV[1] the moment for which it is, ARGV[2] 1 to
-- only note it where nothing was noted, ARGV[3...] the words of XADD behind the key. Returns what was
-- noted before, and nothing if nothing was.
local before = redis.call('GET', KEYS[2])
if before and tonumber(before) >= tonumber(ARGV[1]) then return before end
if before or ARGV[2] ~= '1' then redis.call('XADD', KEYS[1], unpack(ARGV, 3)) end
redis.call('SET', KEYS[2], ARGV[1])
return before
