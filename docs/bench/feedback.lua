-- wrk: feedback of ROWS (1) rows a request, between 943 users and 1,682 items in no order; rows/s are ROWS times
-- requests/s. SEED is part of the feedback type: another one makes other rows.
local rows = tonumber(os.getenv("ROWS") or "1")
local seed = os.getenv("SEED") or "1"
local headers = { ["Content-Type"] = "application/json" }

function request()
    local body = {}
    for row = 1, rows do
        body[row] = string.format(
            '{"FeedbackType":"bench%s","UserId":"%d","ItemId":"%d","Value":1,"Timestamp":"2024-01-01T00:00:00Z"}',
            seed, math.random(943), math.random(1682))
    end
    return wrk.format("POST", "/api/feedback", headers, "[" .. table.concat(body, ",") .. "]")
end
