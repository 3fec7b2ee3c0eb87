-- Hand out what a consumer owns and does not know of; no attempt is charged.
-- uses: now wake lanes fenced take
-- ARGV[3...] leases. Returns {id, count, fields} for each that is still its own, and how many were
-- trimmed away.
local found = {entries = {}, trimmed = 0}
local owned, _, counts = fenced(3, #ARGV)
for i, id in ipairs(owned) do take(found, only_place(), id, counts[i]) end
return {found.entries, found.trimmed}
