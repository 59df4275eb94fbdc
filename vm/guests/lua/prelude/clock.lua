-- Time and chance. Both come from the assignment of the message, so that every node sees the same.
local hash = require(".hash")

local clock = {}
-- Of the message: its `time` in milliseconds, and the `seed` that chance is drawn from.
local now = { time = 0 }

local month_days = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local day_names = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" }
local month_names = {
  "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
  "November", "December",
}

local function is_leap(year) return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) end

-- Days from 1970-01-01 to the first day of a year.
local function days_before(year)
  local last = year - 1
  return (year - 1970) * 365 + (last // 4 - 492) - (last // 100 - 19) + (last // 400 - 4)
end

local function fields(seconds)
  local days, rest = seconds // 86400, seconds % 86400
  local year = 1970 + days // 366
  while days_before(year + 1) <= days do year = year + 1 end
  while days_before(year) > days do year = year - 1 end
  local yday = days - days_before(year)
  local month, day = 1, yday
  while true do
    local length = month_days[month] + (month == 2 and is_leap(year) and 1 or 0)
    if day < length then break end
    day, month = day - length, month + 1
  end
  return {
    year = year, month = month, day = day + 1, hour = rest // 3600, min = rest % 3600 // 60,
    sec = rest % 60, wday = (days + 4) % 7 + 1, yday = yday + 1, isdst = false,
  }
end

-- Seconds of a date; fields out of range carry over.
local function seconds_of(date)
  local function number(name, default)
    local value = math.tointeger(date[name] or default)
    if not value then error("field '" .. name .. "' is missing in the date", 3) end
    if value < -1000000 or value > 1000000 then error("field '" .. name .. "' is out of range", 3) end
    return value
  end
  local year, month = number("year"), number("month") - 1
  year, month = year + month // 12, month % 12 + 1
  local days = days_before(year) + number("day") - 1
  for past = 1, month - 1 do days = days + month_days[past] + (past == 2 and is_leap(year) and 1 or 0) end
  return days * 86400 + number("hour", 12) * 3600 + number("min", 0) * 60 + number("sec", 0)
end

local function two(value) return ("%02d"):format(value) end

local letters = {
  a = function(t) return day_names[t.wday]:sub(1, 3) end,
  A = function(t) return day_names[t.wday] end,
  b = function(t) return month_names[t.month]:sub(1, 3) end,
  B = function(t) return month_names[t.month] end,
  c = "%a %b %e %H:%M:%S %Y", D = "%m/%d/%y", F = "%Y-%m-%d", R = "%H:%M", T = "%H:%M:%S",
  x = "%m/%d/%y", X = "%H:%M:%S", r = "%I:%M:%S %p", h = "%b",
  d = function(t) return two(t.day) end,
  e = function(t) return ("%2d"):format(t.day) end,
  H = function(t) return two(t.hour) end,
  I = function(t) return two((t.hour + 11) % 12 + 1) end,
  j = function(t) return ("%03d"):format(t.yday) end,
  m = function(t) return two(t.month) end,
  M = function(t) return two(t.min) end,
  p = function(t) return t.hour < 12 and "AM" or "PM" end,
  S = function(t) return two(t.sec) end,
  w = function(t) return tostring(t.wday - 1) end,
  u = function(t) return tostring((t.wday + 5) % 7 + 1) end,
  y = function(t) return two(t.year % 100) end,
  C = function(t) return two(t.year // 100) end,
  Y = function(t) return tostring(t.year) end,
  s = function(t) return tostring(seconds_of(t)) end,
  n = function() return "\n" end, t = function() return "\t" end,
  z = function() return "+0000" end, Z = function() return "UTC" end, ["%"] = function() return "%" end,
}

local function expand(format, t)
  return (format:gsub("%%(.?)", function(letter)
    local how = letters[letter]
    if not how then error("os.date: '%" .. letter .. "' is no format", 4) end
    return type(how) == "string" and expand(how, t) or how(t)
  end))
end

os = {
  -- Without a date: the message's time, in milliseconds as programs of ao expect it.
  time = function(date)
    if date == nil then return now.time end
    return seconds_of(date)
  end,
  -- Of seconds, in UTC.
  date = function(format, seconds)
    format = format or "%c"
    seconds = seconds == nil and now.time // 1000 or math.floor(seconds)
    if math.abs(seconds) > 2 ^ 42 then error("os.date: the time is out of range", 2) end
    local t = fields(math.tointeger(seconds))
    if format:sub(1, 1) == "!" then format = format:sub(2) end
    if format:sub(1, 2) == "*t" then return t end
    return expand(format, t)
  end,
  clock = function() return 0 end,
  difftime = function(later, earlier) return (later - (earlier or 0)) + 0.0 end,
  getenv = function() return nil end,
}

local random, randomseed = math.random, math.randomseed

function math.random(...)
  if now.seed then
    local bytes = hash.sha256(now.seed)
    randomseed(("<i8"):unpack(bytes), (("<i8"):unpack(bytes, 9)))
    now.seed = nil
  end
  return random(...)
end

function math.randomseed(...)
  now.seed = nil
  if select("#", ...) > 0 then randomseed(...) end
end

local function text(value) return value == nil and "" or tostring(value) end

-- Begins a message. Two ticks of one slot differ in their time or in what they are called.
function clock.set(msg)
  now.time = math.tointeger(tonumber(msg.Timestamp)) or 0
  now.seed = table.concat({
    "weft.random", text(msg.Id), text(msg["Hash-Chain"]), text(msg.Epoch), text(msg.Nonce),
    text(msg.Timestamp), text(msg["Block-Height"]), text(msg.Cron),
  }, "\n")
end

-- Ends it.
function clock.forget() now.seed = nil end

return clock
