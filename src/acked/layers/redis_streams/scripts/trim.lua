-- Delete what every group has settled, a page of it.
-- uses: precedes
-- ARGV[1] is the id before which entries are old enough, ARGV[2] how many to delete at most. What a
-- group owes begins with its oldest pending entry, or else behind the last one it was given. Without
-- any group nothing is settled. Returns how many were deleted.
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err or #groups == 0 then return 0 end
local first = ARGV[1]
for _, row in ipairs(groups) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  local owed = group['last-delivered-id']
  if group.pending > 0 then
    owed = redis.call('XPENDING', KEYS[1], group.name, '-', '+', 1)[1][1]
  end
  if precedes(owed, first) then first = owed end
end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', first, 'LIMIT', ARGV[2])
