-- Without memory for it the wake-up is left out: consumers look by themselves.
local function wake(key)
  redis.pcall('XADD', key, 'MAXLEN', '8', '*', 'w', '1')
end
