# ruff: noqa: E501, RUF001 (texts keep their lines; Chinese commas, Cyrillic letters are meant)
"""The calibration text that is used when none is given, written for this project.

Prose in several languages, a good part of it Korean, with code, data and conversations. It
is small: text of the domain that a model will serve calibrates better.
"""

TEXTS: tuple[str, ...] = (
    (
        "A harbour pilot does not steer the ship. She stands beside the captain, reads the water "
        "and says what she would do; the captain gives the order. The arrangement is old, and it "
        "survives because both of them know something that the other does not. In fog she listens "
        "first: a bell on the northern buoy, engines to starboard, the change in the echo when the "
        "hull comes near the stone wall. Only then does she look at the radar."
    ),
    (
        "Three causes explain most failures of a backup. The copy was never made, because a disk was "
        "full and nobody read the message. The copy was made and cannot be read, because the key "
        "was kept on the machine that burned. Or the copy is perfect and too old. Each of them is "
        "cheap to prevent: test the restore every month, keep the key in two places, and let an "
        "alarm ring when the newest copy is older than a day."
    ),
    (
        "To prove that the square root of two is irrational, suppose that it equals p/q in lowest "
        "terms. Then p^2 = 2q^2, so p is even, say p = 2r, and 4r^2 = 2q^2 gives q^2 = 2r^2. Hence q "
        "is even as well, which contradicts the choice of lowest terms. The same argument works for "
        "every prime number in place of two, since a prime that divides a square divides its root."
    ),
    (
        "우리 동네 도서관은 강가의 낡은 창고를 고쳐 만든 곳이다. 겨울이면 난로 옆자리가 가장 먼저 "
        "차고, 여름에는 강바람이 드는 창가에 사람들이 모인다. 사서는 새 책이 들어올 때마다 짧은 "
        "소개글을 손으로 써서 입구에 붙여 둔다. 어떤 글은 책보다 재미있다는 소문이 나서, 멀리서 "
        "그 글만 읽으러 오는 이도 있다. 지난달에는 글을 모아 작은 전시를 열었는데, 사흘 동안 "
        "천이백 명이 다녀갔다."
    ),
    (
        "서버를 폐쇄망으로 옮기기 전에 확인할 일은 세 가지다. 첫째, 모든 파일의 해시값을 원본과 "
        "비교한다. 둘째, 서명한 사람의 공개 키가 미리 등록된 것인지 살핀다. 셋째, 설치가 실패했을 "
        "때 되돌리는 절차를 실제로 한 번 연습한다. 문서에 적힌 절차와 손에 익은 절차는 다르기 "
        "때문이다. 점검표는 2부를 출력해 한 부는 반출 담당자가, 다른 한 부는 반입 담당자가 "
        "보관한다. 보관 기간은 5년이며, 기간이 지나면 파쇄한다."
    ),
    (
        "수요와 공급이 만나는 점에서 가격이 정해진다는 설명은 간단하지만, 실제 시장에서는 정보가 "
        "고르게 퍼져 있지 않다. 파는 사람이 물건의 흠을 더 잘 알 때, 사는 사람은 의심하여 값을 "
        "낮추고, 좋은 물건을 가진 사람은 시장을 떠난다. 보증과 평판은 이 문제를 줄이기 위한 장치다."
    ),
    (
        "山の診療所では、医師は月に二度だけ来る。ふだんは看護師の佐藤さんが一人で、けがの手当てから"
        "薬の相談まで引き受けている。雪の深い冬には道が閉ざされるので、電話で町の病院に尋ねながら"
        "判断することもある。「大切なのは、分からないと言えることです」と彼女は笑った。"
    ),
    (
        "这座桥建于一百二十年前，当时没有起重机，石料全靠木船运来。工匠们先在河床打下松木桩，再把"
        "每块石头按编号放好。去年检查时，工程师发现第七号桥墩略有下沉，于是在水下注入了新的灰浆。"
        "修复之后，桥的承重能力比原来提高了百分之十五。"
    ),
    (
        "La panadera abre a las cinco, cuando la calle todavía está oscura. Mezcla harina, agua, sal, "
        "y deja que la masa repose mientras revisa los pedidos del día. Dice que el secreto no está "
        "en la receta, sino en la paciencia: una masa apurada se nota en el primer bocado."
    ),
    (
        "Der Zug hielt auf freier Strecke, und niemand wusste warum. Nach einer Weile erklärte die "
        "Schaffnerin, dass ein Baum auf den Gleisen liege. Ein älterer Herr packte Äpfel aus und "
        "verteilte sie; so lernten sich Menschen kennen, die sonst nur auf ihre Bildschirme schauen."
    ),
    (
        "Le traité prévoit trois étapes. Les parties échangent d'abord leurs listes, puis une "
        "commission vérifie chaque entrée; enfin, les deux signatures sont déposées le même jour, afin "
        "qu'aucun des signataires ne puisse prétendre avoir été le premier."
    ),
    (
        "Старый мастер чинил часы в подвале возле вокзала. Он узнавал поломку по звуку и редко "
        "ошибался, а за мелкий ремонт денег не брал: просил рассказать, кому часы принадлежали."
    ),
    (
        "from collections import deque\n\n\ndef shortest_path(graph, start, goal):\n"
        '    """Return the nodes of a shortest path, or None."""\n'
        "    came_from = {start: None}\n    queue = deque([start])\n    while queue:\n"
        "        node = queue.popleft()\n        if node == goal:\n            path = []\n"
        "            while node is not None:\n                path.append(node)\n"
        "                node = came_from[node]\n            return path[::-1]\n"
        "        for neighbour in graph.get(node, ()):\n            if neighbour not in came_from:\n"
        "                came_from[neighbour] = node\n                queue.append(neighbour)\n"
        "    return None\n"
    ),
    (
        "#include <stdio.h>\n#include <stdint.h>\n\nstatic uint32_t checksum(const uint8_t *data, "
        "size_t length) {\n    uint32_t low = 1, high = 0;\n    for (size_t i = 0; i < length; i++) {\n"
        "        low = (low + data[i]) % 65521u;\n        high = (high + low) % 65521u;\n    }\n"
        "    return (high << 16) | low;\n}\n"
    ),
    (
        "SELECT department, COUNT(*) AS people, ROUND(AVG(salary), 2) AS mean_salary\nFROM staff\n"
        "WHERE left_on IS NULL AND hired_on < '2024-01-01'\nGROUP BY department\n"
        "HAVING COUNT(*) > 3\nORDER BY mean_salary DESC;\n\n"
        '{"order": 48213, "items": [{"sku": "B-17", "count": 2, "price": 14.5}, {"sku": "K-02", '
        '"count": 1, "price": 230.0}], "paid": true, "note": null}\n'
    ),
    (
        "# Release checklist\n\n1. Run the tests on a clean machine.\n2. Raise the version in one "
        "place only.\n3. Build, sign, and install what you built; `make demo` must pass.\n\n"
        "| step | minutes | who |\n|---|---:|---|\n| tests | 12 | CI |\n| signing | 3 | two of us |\n"
    ),
)
"""Texts of one kind each."""

CONVERSATIONS: tuple[list[dict[str, str]], ...] = (
    [
        {"role": "user", "content": "My Python script says 'list index out of range'. Why?"},
        {
            "role": "assistant",
            "content": "The code asks for an element behind the end of a list. Print the length "
            "of the list just before the failing line. A common cause is a loop over "
            "`range(len(a) + 1)`; another is a line of input with fewer columns than expected.",
        },
        {"role": "user", "content": "It was an empty line in the file. Thanks!"},
        {"role": "assistant", "content": "Then skip it: `if not line.strip(): continue`."},
    ],
    [
        {"role": "user", "content": "회의록을 세 줄로 요약하는 방법을 알려 주세요."},
        {
            "role": "assistant",
            "content": "첫 줄에는 결정된 사항을, 둘째 줄에는 담당자와 기한을, 셋째 줄에는 아직 "
            "결정하지 못한 문제를 쓰면 됩니다. 누가 무슨 말을 했는지는 빼도 좋습니다. 예를 들어 "
            "'검수 일정을 10월 14일로 확정함 / 김 대리가 금요일까지 공지'"
            "처럼 적을 수 있습니다.",
        },
    ],
    [
        {"role": "user", "content": "A tank holds 240 litres and loses 5% a day. After two days?"},
        {
            "role": "assistant",
            "content": "After one day 240 x 0.95 = 228 litres remain, after two days "
            "228 x 0.95 = 216.6 litres. So 23.4 litres are lost in total.",
        },
    ],
    [
        {"role": "user", "content": "비밀번호를 얼마나 자주 바꿔야 하나요?"},
        {
            "role": "assistant",
            "content": "정해진 주기보다 유출이 의심될 때 바로 바꾸는 것이 더 중요합니다. 길고 "
            "서로 다른 비밀번호를 쓰고, 가능하면 2단계 인증을 켜 두세요.",
        },
    ],
)
"""Conversations, for the model's own chat template."""
