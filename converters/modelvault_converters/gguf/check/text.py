# ruff: noqa: E501, RUF001 - many scripts, some wide
"""The text that a check reads unless it is given another: several scripts, and some code."""

TEXT = """\
The harbour master wrote the names of the ships into a long grey book. When a captain asked why \
he did not use the new machine in the office, he answered that a book never forgets its password, \
and that nobody had ever sunk a ship by reading slowly. In the evening he counted the lamps along \
the quay, from the lighthouse to the fish market, and found that there were as many as yesterday.

항구의 관리인은 배의 이름을 두꺼운 회색 장부에 적었다. 선장이 왜 사무실의 새 기계를 쓰지 않느냐고 묻자, \
그는 장부는 비밀번호를 잊어버리는 법이 없다고 대답했다. 저녁이 되면 그는 등대에서 어시장까지 늘어선 등불을 \
세었고, 어제와 같은 수라는 것을 확인한 뒤에야 집으로 돌아갔다. 비가 오는 날에도 그 일을 거르지 않았다.

港の管理人は船の名前を灰色の帳面に書きとめた。夕方になると、灯台から魚市場までの明かりを数え、\
昨日と同じ数であることを確かめてから家に帰った。

港口的管理员把船名写在一本厚厚的灰色账簿里。傍晚时分，他从灯塔数到鱼市，确认灯的数目与昨天一样，然后才回家。

Der Hafenmeister schrieb die Namen der Schiffe in ein dickes graues Buch. Am Abend zählte er die \
Lampen am Kai, vom Leuchtturm bis zum Fischmarkt, und fand, dass es so viele waren wie gestern.

El encargado del puerto anotaba los nombres de los barcos en un libro gris. Por la tarde contaba \
los faroles del muelle y comprobaba que había tantos como el día anterior.

Смотритель порта записывал названия кораблей в толстую серую книгу. Вечером он считал фонари вдоль \
набережной и убеждался, что их столько же, сколько было вчера.

كان مدير الميناء يكتب أسماء السفن في دفتر رمادي كبير، وفي المساء يعدّ المصابيح على الرصيف.

बंदरगाह का अधिकारी जहाज़ों के नाम एक मोटी किताब में लिखता था और शाम को बत्तियाँ गिनता था।

def count_lamps(quay: list[Lamp], *, lit: bool = True) -> int:
    \"\"\"Return how many lamps of the quay are lit, or are not.\"\"\"
    return sum(1 for lamp in quay if lamp.is_lit == lit)
"""
