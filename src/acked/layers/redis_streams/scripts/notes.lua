local function is_noted(count)
  return math.floor(count / ALONE) % 2
end

-- The delivery count as it was before this delivery was noted as alone.
local function without_note(count)
  return count - ALONE * is_noted(count)
end

-- The delivery count of the next delivery, after a lease that ended by itself.
local function next_count(count)
  return count + ALONE * is_noted(count) + 1
end
