-- Say what an entry is to the groups whose names begin at ARGV[first]; each has five keys, from the
-- second on, of which the first has its moments: 'settled' by all, 'owed' to one at least (or there is
-- no group), or 'held' by a consumer, whose name tells its lease. `delivered` has what each group was
-- given last.
local function state_of(id, first, delivered, time)
  local state = #KEYS > 1 and 'settled' or 'owed'
  for k = 2, #KEYS, 5 do
    local group = ARGV[first + (k - 2) / 5]
    local pending = redis.call('XPENDING', KEYS[1], group, id, id, 1)[1]
    if pending then
      local ends = redis.call('ZSCORE', KEYS[k], id)
      local lease = tonumber(string.match(pending[2], '~(%d+)$') or 0)
      local is_over = ends and tonumber(ends) <= time or not ends and pending[3] >= lease
      if pending[2] ~= FREE and pending[2] ~= PARKED and not is_over then return 'held' end
      state = 'owed'
    elseif not delivered[group] or precedes(delivered[group], id) then
      state = 'owed'
    end
  end
  return state
end

local function delivered_of()
  local delivered = {}
  if #KEYS > 1 then
    for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
      local group = {}
      for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
      delivered[group.name] = group['last-delivered-id']
    end
  end
  return delivered
end
