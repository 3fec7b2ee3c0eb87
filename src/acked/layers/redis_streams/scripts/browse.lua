-- Show a page of a stream, and take nothing.
-- uses: now precedes state_of
-- KEYS stream, and for each group those beside it; ARGV[1] the entry behind which the page begins,
-- ARGV[2] the last one, ARGV[3] how many to look at, ARGV[4...] the groups. Returns {id, fields,
-- held or owed} for each that is not settled, and the last that was looked at.
local page = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local found, delivered, time, last = {}, delivered_of(), now(), ''
for _, entry in ipairs(page) do
  last = entry[1]
  local state = state_of(last, 4, delivered, time)
  if state ~= 'settled' then found[#found + 1] = {last, entry[2], state} end
end
return {found, last}
