-- Create a group, if there is none. Where it is there, no memory is needed.
-- ARGV[3] the id after which a new group begins. Moments and lanes of a group of that name that was
-- deleted would make entries of the new one free that are held, or hold what is free.
local function is_there(key)
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  for _, group in ipairs(groups.err and {} or groups) do
    if group[2] == ARGV[1] then return true end
  end
  return false
end

local function create(key, start)
  local made = redis.pcall('XGROUP', 'CREATE', key, ARGV[1], start, 'MKSTREAM')
  if not made.err then return true end
  -- Who may not be told of groups finds it there only now.
  if string.find(made.err, 'BUSYGROUP') then return false end
  return made
end

if not is_there(KEYS[1]) then
  local made = create(KEYS[1], ARGV[3])
  if type(made) == 'table' then return made end
  if made then redis.call('DEL', KEYS[2], KEYS[5], KEYS[6]) end
end
if not is_there(KEYS[3]) then
  local made = create(KEYS[3], '$')
  if type(made) == 'table' then return made end
end
return 1
