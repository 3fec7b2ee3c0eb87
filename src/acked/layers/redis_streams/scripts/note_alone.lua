-- Note with an entry that it is handled alone, or not.
-- uses: fenced notes
-- ARGV[3] its lease, ARGV[4] 1 or 0. Returns 1, or 0 if that is not the caller's.
local owned, _, counts = fenced(3, 3)
if #owned == 0 then return 0 end
local count = without_note(counts[1]) + ALONE * ARGV[4]
return #redis.call(
  'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, owned[1], 'RETRYCOUNT', count, 'JUSTID')
