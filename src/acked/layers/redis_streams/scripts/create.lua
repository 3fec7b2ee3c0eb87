-- Create a group, if there is none. Where it is there, no memory is needed.
-- ARGV[3] the id after which a new group begins. Moments of a group of that name that was deleted
-- would make entries of the new one free that are held.
local function is_there(key)
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  for _, group in ipairs(groups.err and {} or groups) do
    if group[2] == ARGV[1] then return true end
  end
  return false
end

if not is_there(KEYS[1]) then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[3], 'MKSTREAM')
  redis.call('DEL', KEYS[2])
end
if not is_there(KEYS[3]) then
  redis.call('XGROUP', 'CREATE', KEYS[3], ARGV[1], '$', 'MKSTREAM')
end
return 1
