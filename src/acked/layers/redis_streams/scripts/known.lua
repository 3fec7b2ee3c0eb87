-- Returns a function that says whether an entry of XPENDING is among the leases in `words`.
local function knows(words)
  local known = {}
  for lease in string.gmatch(words, '%S+') do known[lease] = true end
  return function(entry)
    return known[entry[4] == 1 and entry[1] or entry[1] .. '/' .. entry[4]]
  end
end
