-- Without memory for it the wake-up is left out: consumers look by themselves every second.
local function wake()
  redis.pcall('XADD', KEYS[3], 'MAXLEN', '8', '*', 'w', '1')
end
