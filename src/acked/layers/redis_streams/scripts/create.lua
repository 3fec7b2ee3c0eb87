-- Create a group, if there is none.
-- ARGV[3] the id after which a new group begins. Moments of a group of that name that was deleted
-- would make entries of the new one free that are held.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[3], 'MKSTREAM')
if not made.err then
  redis.call('DEL', KEYS[2])
elseif not string.find(made.err, 'BUSYGROUP') then
  return made
end
made = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[1], '$', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
return 1
