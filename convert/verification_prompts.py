"""Texts that `convert verify` runs through both sides: problems, rules and chains of thought."""

PROMPTS = (
    "A bakery sells rolls in bags of 6. On Monday it sold 14 bags and 5 single rolls, on Tuesday "
    "twice as many bags and no single rolls. How many rolls did it sell on both days together? "
    "On Monday it sold 14 * 6 + 5 = 89 rolls. On Tuesday it sold 28 * 6 = 168 rolls. Together "
    "that is 89 + 168 = 257. The answer is \\boxed{257}.",
    "Rules: The distance is the speed multiplied by the time. The average speed is the whole "
    "distance divided by the whole time, not the mean of the speeds. A train goes 120 km at 60 "
    "km/h and then 120 km at 40 km/h. It takes 2 hours and then 3 hours, so its average speed is "
    "240 / 5 = 48 km/h. The answer is \\boxed{48}.",
    "Nora reads 18 pages a day for a week and then 25 pages a day until the book of 326 pages is "
    "finished. On how many days does she read? In the first week she reads 7 * 18 = 126 pages. "
    "There are 326 - 126 = 200 pages left, and 200 / 25 = 8. She reads on 7 + 8 = 15 days. "
    "The answer is \\boxed{15}.",
    "To find what percentage one number is of another, divide the first by the second and "
    "multiply by one hundred. A price that rises by a fifth and then falls by a fifth is lower "
    "than at the start, because the second fifth is taken from a larger amount: 100 becomes 120, "
    "and 120 becomes 96.",
    "Solve for x: 3x + 7 = 2(x - 4) + 30. The right side is 2x - 8 + 30 = 2x + 22. Subtracting 2x "
    "from both sides gives x + 7 = 22, so x = 15. To check: 3 * 15 + 7 = 52 and 2 * 11 + 30 = 52. "
    "The answer is \\boxed{15}.",
    "Three friends share the cost of a tent. Ivo pays half of it, Lea a third, and Tom the "
    "remaining 42 euros. What did the tent cost? Ivo and Lea pay 1/2 + 1/3 = 5/6 of the price, so "
    "Tom pays 1/6 of it. The price is 42 * 6 = 252 euros. The answer is \\boxed{252}.",
    "How many whole numbers from 1 to 100 are divisible by 3 or by 5? By 3 there are 33, by 5 "
    "there are 20, and by both there are 6, which were counted twice. So there are 33 + 20 - 6 = "
    "47. The answer is \\boxed{47}.",
    "A rectangle is 4 cm longer than it is wide, and its perimeter is 52 cm. Let the width be w. "
    "Then 2 * (w + w + 4) = 52, hence 4w + 8 = 52 and w = 11. Its sides are 11 cm and 15 cm, and "
    "its area is 11 * 15 = 165 square centimetres. The answer is \\boxed{165}.",
)
