"""What the shop sells."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Product",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                ("slug", models.SlugField(unique=True)),
                ("text", models.TextField()),
                ("price_cents", models.PositiveIntegerField()),
                ("hue", models.PositiveSmallIntegerField(default=0)),
            ],
            options={"ordering": ("name",)},
        ),
    ]
