-- Tell whether a session is as asked for in three arguments from `first` on: the latest time of the
-- last save and of the creation (seconds since the epoch; '' for any), and the tag of the user whose
-- sessions are meant ('' for nobody's, * for all). `text` is its field '~'.
local function is_meant(text, first)
  if ARGV[first] == '' and ARGV[first + 2] == '*' then
    return true
  end
  local created, saved, user = string.match(text, '^(%d+) (%d+) %d+ %d+ ([%w_-]*)')
  return (ARGV[first + 2] == '*' or user == ARGV[first + 2])
    and tonumber(saved) <= (tonumber(ARGV[first]) or math.huge)
    and created / 1000000 <= (tonumber(ARGV[first + 1]) or math.huge)
end
